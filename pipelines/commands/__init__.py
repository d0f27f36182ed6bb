"""The commands of `atomlake`, one file a subject."""
