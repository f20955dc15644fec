#!/usr/bin/env python3
"""Prints the table of ../system/mathematics.txt: values of the transcendental instructions, from
their series in arithmetic of 60 digits. An operand is a double; a result is an integer of 64
significant bits and its power of two.

    python3 emulator/cpu/tests/peer/mathematics.py > emulator/cpu/tests/system/mathematics.txt
"""
from decimal import Decimal, getcontext
from math import pi

getcontext().prec = 90


def circular(term, n, x):
    """The series of sine or cosine, from its first term, x**n / n!, on."""
    total = term
    while abs(term) > Decimal(10) ** -80:
        n += 2
        term = -term * x * x / (n * (n - 1))
        total += term
    return total


def sine(x):
    return circular(x, 1, x)


def cosine(x):
    return circular(Decimal(1), 0, x)


def arc_tangent(x):
    # Halves the angle until the series is quick.
    halvings = 0
    while abs(x) > Decimal("0.01"):
        x = x / (1 + (1 + x * x).sqrt())
        halvings += 1
    power, total, n = x, x, 1
    while abs(power) > Decimal(10) ** -80:
        n += 2
        power = -power * x * x
        total += power / n
    return total * 2**halvings


PI = 4 * arc_tangent(Decimal(1))
LN2 = Decimal(2).ln()


def angle(y, x):
    if x > 0:
        return arc_tangent(y / x)
    return arc_tangent(y / x) + (PI if y >= 0 else -PI)


def parts(value):
    """value = mantissa * 2**exponent, the mantissa of 64 bits."""
    exponent = 0
    size = abs(value)
    while size >= 2**64:
        size /= 2
        exponent += 1
    while size < 2**63:
        size *= 2
        exponent -= 1
    mantissa = int(size.to_integral_value())
    if mantissa == 2**64:
        mantissa, exponent = 2**63, exponent + 1
    return (-mantissa if value < 0 else mantissa), exponent


def line(name, value, *operands):
    mantissa, exponent = parts(value)
    print(name, *(float(operand).hex() for operand in operands), f"{mantissa:x}", exponent)


ANGLES = [2.0**-40, 2.0**-12, 0.1, -0.4, 0.78, -0.79, 1.0, 1.5, -2.0, 2.6, 4.0, -7.5, 20.0, 100.25]
for angle_ in ANGLES:
    exact = Decimal(angle_)
    line("sin", sine(exact), angle_)
    line("cos", cosine(exact), angle_)
    line("tan", sine(exact) / cosine(exact), angle_)
for y, x in [(1.0, 1.0), (0.5, 3.0), (-0.5, 3.0), (7.0, 0.25), (1e-9, 1.0), (3.0, -2.0), (-1.0, -1e6), (pi, 1e-5)]:
    line("atan", angle(Decimal(y), Decimal(x)), y, x)
for x in [2.0**-40, -(2.0**-20), 0.001, 0.25, -0.25, 0.5, -0.5, 0.75, 0.999, -0.999]:
    line("exp", (Decimal(x) * LN2).exp() - 1, x)
for y, x in [(1.0, 3.0), (1.0, 1.0 + 2.0**-30), (2.5, 0.7), (-1.0, 1e300), (1.0, 1e-300), (0.30103, 10.0), (1.0, 1.9999)]:
    line("log", Decimal(y) * Decimal(x).ln() / LN2, y, x)
for y, x in [(1.0, 2.0**-50), (1.0, 1e-9), (-3.0, 0.01), (1.0, -0.01), (0.7, 0.29), (1.0, -0.29)]:
    line("log1", Decimal(y) * (1 + Decimal(x)).ln() / LN2, y, x)
