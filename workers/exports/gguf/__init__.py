"""GGUF files: a merged model written as llama.cpp and what is built on it load it, and compared with where it came from."""
