"""The layer explorer of report.html: what it shows, in few bytes. templates/explorer.js draws it."""
