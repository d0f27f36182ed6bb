"""Training: from a pinned dataset to a potential that an MD code can use."""
