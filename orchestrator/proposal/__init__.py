"""Past trials -> next candidates."""
