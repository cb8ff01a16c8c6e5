"""Where the images of each source come from, and under which licence: for the model card."""

ORIGINS = {
    "elpv": (
        "2,624 electroluminescence images of solar cells (elpv-dataset; Deitsch et al., Solar Energy 185, 2019), "
        "defective from a defect probability of 0.5",
        "CC BY-NC-SA 4.0: not for commercial use",
    ),
    "oxford_pets": (
        "Oxford-IIIT Pet, cats against dogs (Parkhi et al., CVPR 2012)",
        "CC BY-SA 4.0; the photographs belong to their owners",
    ),
    "folder": ("images from a folder of the user's", "not known to layershap: add it here"),
}
