"""From messages to a prompt, and from logits to text and tool calls."""
