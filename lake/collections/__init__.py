"""Collections of frames whose files do not say their units: what they hold, the depositor's answers, proposals, the runs made of them."""
