"""Class texts and the files that hold them."""
