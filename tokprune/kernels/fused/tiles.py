"""What the kernels share: tiles of logits, and the sums of the softmax."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def vectors(pointer, position, stride_token, stride_dim, length, start, dim, BLOCK_DIM: tl.constexpr):
    """A tile `[token dim]` of queries or keys from dimension `start` on, zero beyond the last token or dimension."""
    along = start + tl.arange(0, BLOCK_DIM)
    inside = (position < length)[:, None] & (along < dim)[None, :]
    places = position[:, None].to(tl.int64) * stride_token + along[None, :] * stride_dim
    return tl.load(pointer + places, mask=inside, other=0.0)


@triton.jit
def logits(
    rows,
    row_pointer,
    row,
    row_stride,
    row_dim,
    row_count,
    column_pointer,
    column,
    column_stride,
    column_dim,
    column_count,
    dim,
    scale,
    mask,
    mask_row,
    mask_column,
    MASK: tl.constexpr,
    CHUNKED: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    """Logits `[row column]` in float32; -inf where attention is not allowed or there is no such row or column.

    MASK is 0 for none, 1 for bool, 2 for additive. CHUNKED: the dimensions are gone through in blocks, because products
    in float32 keep whole vectors in registers; else `rows` holds them all.
    """
    # "ieee", because float32 products would be rounded to tf32 otherwise; those of half precision are exact anyway.
    if CHUNKED:
        result = tl.zeros([row.shape[0], column.shape[0]], tl.float32)
        for start in range(0, dim, BLOCK_DIM):
            these = vectors(row_pointer, row, row_stride, row_dim, row_count, start, dim, BLOCK_DIM)
            those = vectors(column_pointer, column, column_stride, column_dim, column_count, start, dim, BLOCK_DIM)
            result = tl.dot(these, tl.trans(those), result, input_precision="ieee")
    else:
        those = vectors(column_pointer, column, column_stride, column_dim, column_count, 0, dim, BLOCK_DIM)
        result = tl.dot(rows, tl.trans(those), input_precision="ieee")
    result *= scale
    inside = (row < row_count)[:, None] & (column < column_count)[None, :]
    if MASK != 0:
        places = row[:, None].to(tl.int64) * mask_row + column[None, :].to(tl.int64) * mask_column
        hides = tl.load(mask + places, mask=inside, other=0)
        if MASK == 1:
            inside = inside & (hides != 0)
        else:
            result += hides.to(tl.float32)
    return tl.where(inside, result, float("-inf"))


@triton.jit
def subtrahend(top):
    """The highest logit, to be subtracted; 0 for whoever may attend to nothing, or everything would be NaN."""
    return tl.where(top == float("-inf"), 0.0, top)


@triton.jit
def divisor(mass):
    """The sum of exponentials, to divide by; 1 for whoever may attend to nothing, whose probabilities stay 0."""
    return tl.where(mass == 0.0, 1.0, mass)


@triton.jit
def softmax_sums(
    rows,
    row_pointer,
    row,
    row_stride,
    row_dim,
    row_count,
    column_pointer,
    column_stride,
    column_dim,
    column_count,
    dim,
    scale,
    mask,
    mask_row,
    mask_column,
    weights,
    MASK: tl.constexpr,
    WEIGHTED: tl.constexpr,
    CHUNKED: tl.constexpr,
    BLOCK_COLUMN: tl.constexpr,
    BLOCK_DIM: tl.constexpr,
):
    """Of each row: highest logit, sum of exponentials, and the same weighted, all in one pass over the columns."""
    top = tl.full([row.shape[0]], float("-inf"), tl.float32)
    mass = tl.zeros([row.shape[0]], tl.float32)
    held = tl.zeros([row.shape[0]], tl.float32)
    for start in range(0, column_count, BLOCK_COLUMN):
        column = start + tl.arange(0, BLOCK_COLUMN)
        these = logits(
            rows,
            row_pointer,
            row,
            row_stride,
            row_dim,
            row_count,
            column_pointer,
            column,
            column_stride,
            column_dim,
            column_count,
            dim,
            scale,
            mask,
            mask_row,
            mask_column,
            MASK,
            CHUNKED,
            BLOCK_DIM,
        )
        higher = tl.maximum(top, tl.max(these, 1))
        powers = tl.exp(these - subtrahend(higher)[:, None])
        rescale = tl.exp(top - subtrahend(higher))
        mass = mass * rescale + tl.sum(powers, 1)
        if WEIGHTED:
            weight = tl.load(weights + column, mask=column < column_count, other=0.0)
            held = held * rescale + tl.sum(powers * weight[None, :], 1)
        top = higher
    return top, mass, held
