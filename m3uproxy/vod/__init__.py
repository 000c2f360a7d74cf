"""Films: each player has its own place in the file and its own pace; nothing is shared but the file's ends."""
