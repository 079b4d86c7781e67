"""Parts of imprint that other libraries call."""
