"""A drafter adapted to the target that people run: texts, a teacher's signals, training, proof.

What needs PyTorch is imported when it is used: texts, recording and everything about files work without it.
"""
