"""What a network answers: decode its outputs, say how sure an answer is, and whether it can be."""
