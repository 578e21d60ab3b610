"""The rules of the house: layers, names, sizes, texts, what the headers of the scripts say, what is public."""
