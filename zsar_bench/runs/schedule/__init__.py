"""Tasks, who runs them, how long they take, who hears of them."""
