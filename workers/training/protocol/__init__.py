"""What launcher, supervisor and ranks say to each other: files in the run's folder, JSON all of them."""
