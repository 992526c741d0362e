"""Files as earlier versions wrote them, which every later one must read: ``v1`` is never written again."""
