"""Changes what a planned agent sees and does in its environments, for example by a source's policy that acts there."""
