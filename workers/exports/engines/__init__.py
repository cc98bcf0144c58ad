"""Engines that are not ours, each in a module with `load(folder, options)`: what an export is loaded by when it is checked."""
