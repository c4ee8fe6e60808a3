"""Other systems' models on our data, run in environments of their own."""
