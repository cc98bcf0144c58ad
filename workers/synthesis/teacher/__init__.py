"""The teacher, a language model that writes targets: asked once, paid once, checked before anything is learnt from it."""
