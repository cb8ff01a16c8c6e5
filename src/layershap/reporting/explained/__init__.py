"""What stage explain makes of many images: which ones, each one's part, and the outs from all parts."""
