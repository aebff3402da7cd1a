"""Vector instructions over sixteen replicas of one sign: the innermost part of every walk in this folder.

The replicas of a sign lie side by side, and one instruction serves all of them. Written as plain loops these lines are
not vectorised (the compiler wants longer rows and cannot know that arrays do not overlap), hence the explicit vectors.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from thalweg.methods.signs.lanes import LANES

LARGEST = 22.2  # -ln of the smallest uniform number below, rounded up: what costs more is never accepted

_I32, _I64, _F32 = ir.IntType(32), ir.IntType(64), ir.FloatType()
_FUSED = ("contract",)
_BINADE, _SQRT_HALF, _MANTISSA = 0x3F800000, 0x3F3504F3, 0x7FFFFF  # 1, sqrt(1/2) and the mask of a float32
# ln(1 + f) / f between sqrt(1/2) - 1 and sqrt(2) - 1 by Chebyshev interpolation: wrong by at most 4e-7 in ln.
_SERIES = (1.0000009537, -0.5000114441, 0.3331467509, -0.2490828931, 0.2049175948, -0.1868075132, 0.1193105429)


def _vector(element, count=LANES):
    return ir.VectorType(element, count)


def _filled(vector, number):
    return ir.Constant(vector, [number] * vector.count)


def _spread(builder, scalar):
    """One scalar in all lanes."""
    vector = _vector(scalar.type)
    nothing = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(nothing, scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, nothing, _filled(_vector(_I32), 0))


class _Row:
    """Row `index` of a contiguous array as one vector in memory."""

    def __init__(self, context, builder, kind, array, index, count=LANES):
        assert kind.layout == "C", f"rows of {kind} are not contiguous"
        data = context.make_array(kind)(context, builder, array).data
        place = builder.gep(data, [builder.mul(index, ir.Constant(index.type, count))])
        vector = _vector(context.get_data_type(kind.dtype), count)
        self.builder, self.place = builder, builder.bitcast(place, vector.as_pointer())
        self.align = kind.dtype.bitwidth // 8

    def load(self):
        return self.builder.load(self.place, align=self.align)

    def store(self, vector):
        self.builder.store(vector, self.place, align=self.align)


def _drawn(context, builder, kind, words):
    """Sixteen words of 31 random bits, by eight xorshift128+ streams (Vigna, J. Comput. Appl. Math. 315, 2017)."""
    first, second = (_Row(context, builder, kind, words, ir.Constant(_I64, half), LANES // 2) for half in (0, 1))
    old, kept = first.load(), second.load()
    vector = kept.type
    total = builder.add(old, kept)
    old = builder.xor(old, builder.shl(old, _filled(vector, 23)))
    shifted = builder.xor(builder.lshr(old, _filled(vector, 18)), builder.lshr(kept, _filled(vector, 5)))
    first.store(kept)
    second.store(builder.xor(builder.xor(old, kept), shifted))
    halves = builder.bitcast(total, _vector(_I32))
    return builder.lshr(halves, _filled(_vector(_I32), 1))  # the lowest bit of such a stream is the worst


def _minus_log(builder, word):
    """`-ln((word + 1/2) / 2^31)` in float32: never zero or infinite."""
    whole, real = _vector(_I32), _vector(_F32)
    number = builder.fadd(builder.sitofp(word, real), _filled(real, 0.5))
    bits = builder.add(builder.bitcast(number, whole), _filled(whole, _BINADE - _SQRT_HALF))
    exponent = builder.sitofp(builder.ashr(bits, _filled(whole, 23)), real)
    fraction = builder.add(builder.and_(bits, _filled(whole, _MANTISSA)), _filled(whole, _SQRT_HALF))
    rest = builder.fsub(builder.bitcast(fraction, real), _filled(real, 1.0))
    series = _filled(real, _SERIES[-1])
    for number in _SERIES[-2::-1]:
        series = builder.fadd(builder.fmul(series, rest, flags=_FUSED), _filled(real, number), flags=_FUSED)
    binades = builder.fsub(_filled(real, 127.0 + 31.0), exponent)
    large = builder.fmul(binades, _filled(real, 0.6931471824645996), flags=_FUSED)  # ln 2, rounded to float32
    return builder.fsub(large, builder.fmul(rest, series, flags=_FUSED), flags=_FUSED)


def _threshold(builder, word, heat_bath):
    """The largest cost, in units of the temperature, that is accepted: with it a flip has the right probability."""
    threshold = _minus_log(builder, word)
    if not heat_bath:
        return threshold  # P(-ln u >= cost) = min(1, exp(-cost))
    other = builder.sub(_filled(_vector(_I32), 2**31 - 1), word)
    return builder.fsub(threshold, _minus_log(builder, other))  # P(ln((1 - u) / u) >= cost) = 1 / (1 + exp(cost))


def _attempt(heat_bath):
    def attempt(typing, signs, fields, words, heat, reach, site, step):
        exact = isinstance(fields.dtype, types.Integer)

        def generate(context, builder, signature, arguments):
            signs_, fields_, words_, heat_, reach_, site_, step_ = arguments
            zeroth = ir.Constant(_I64, 0)
            here = _Row(context, builder, signs, signs_, site_)
            sign, felt = here.load(), _Row(context, builder, fields, fields_, site_).load()
            real = _vector(context.get_data_type(heat.dtype))
            gain = builder.sitofp(builder.mul(sign, felt), real) if exact else builder.fmul(sign, felt)
            near = builder.bitcast(builder.fcmp_ordered("<=", gain, _spread(builder, reach_)), ir.IntType(LANES))
            before = builder.block
            with builder.if_then(builder.icmp_unsigned("!=", near, ir.Constant(near.type, 0))):
                threshold = _threshold(builder, _drawn(context, builder, words, words_), heat_bath)
                threshold = threshold if real.element == _F32 else builder.fpext(threshold, real)
                threshold = builder.fmul(threshold, _Row(context, builder, heat, heat_, zeroth).load())
                turned = builder.fcmp_ordered("<=", gain, threshold)
                add, subtract = (builder.add, builder.sub) if exact else (builder.fadd, builder.fsub)
                nothing = _filled(sign.type, 0 if exact else 0.0)
                change = builder.select(turned, subtract(nothing, add(sign, sign)), nothing)
                _Row(context, builder, step, step_, zeroth).store(change)
                here.store(add(sign, change))
                some = builder.bitcast(turned, ir.IntType(LANES))
                some = builder.icmp_unsigned("!=", some, ir.Constant(some.type, 0))
                inside = builder.block
            moved = builder.phi(ir.IntType(1))
            moved.add_incoming(ir.Constant(ir.IntType(1), 0), before)
            moved.add_incoming(some, inside)
            return moved

        return types.boolean(signs, fields, words, heat, reach, site, step), generate

    return attempt


def _push(typing, fields, row, coupling, step):
    """`fields[row] += coupling * step`, for all replicas."""
    exact = isinstance(fields.dtype, types.Integer)

    def generate(context, builder, signature, arguments):
        fields_, row_, coupling_, step_ = arguments
        there = _Row(context, builder, fields, fields_, row_)
        change = _Row(context, builder, step, step_, ir.Constant(_I64, 0)).load()
        add, times = (builder.add, builder.mul) if exact else (builder.fadd, builder.fmul)
        there.store(add(there.load(), times(_spread(builder, coupling_), change)))
        return context.get_dummy_value()

    return types.void(fields, row, coupling, step), generate


def _weigh(typing, totals, signs, fields, site):
    """`totals += signs[site] * fields[site]`, for all replicas, in the wide type of `totals [16]`."""
    exact = isinstance(fields.dtype, types.Integer)

    def generate(context, builder, signature, arguments):
        totals_, signs_, fields_, site_ = arguments
        total = _Row(context, builder, totals, totals_, ir.Constant(_I64, 0))
        sign = _Row(context, builder, signs, signs_, site_).load()
        felt = _Row(context, builder, fields, fields_, site_).load()
        if exact:
            product = builder.sext(builder.mul(sign, felt), _vector(_I64))
            total.store(builder.add(total.load(), product))
        else:
            total.store(builder.fadd(total.load(), builder.fmul(sign, felt)))
        return context.get_dummy_value()

    return types.void(totals, signs, fields, site), generate


# attempt(signs [n, 16], fields [n, 16], words [2, 8], heat [16], reach, site, step [16]): whether any replica flipped.
# It costs `2 * sign * field` to flip; `heat` is half the temperature, `reach` the largest gain worth a random number;
# `step` gets the changes of the signs, for `push`.
attempt_metropolis: Any = intrinsic(_attempt(heat_bath=False))
attempt_heat_bath: Any = intrinsic(_attempt(heat_bath=True))
push: Any = intrinsic(_push)
weigh: Any = intrinsic(_weigh)
