"""The programs and the original API, each as its users meet it."""
