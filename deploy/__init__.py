"""Where tweetmill runs: the one-machine stack, containers, Kubernetes and monitoring."""
