//! Instructions whose last bits are each processor's own: held against mathematics.

use super::*;

/// Error of sine to logarithm at most, in units of the last of 64 bits: they are computed with
/// 64 bits and rounded at each step. Intel's processors keep to 1 (SDM vol. 1, 8.3.10).
const ULPS: u128 = 4;

/// RCPPS and RSQRTPS: relative error (SDM vol. 2).
const APPROXIMATE: f64 = 1.5 / 4096.0;

/// A double as Python's `float.hex` writes it: `-0x1.8p-3`.
fn double(text: &str) -> f64 {
    let (sign, text) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    let (digits, power) = text.strip_prefix("0x").unwrap().split_once('p').unwrap();
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mantissa = u64::from_str_radix(&format!("{whole}{fraction}"), 16).unwrap();
    let power: i32 = power.parse().unwrap();
    // In two steps, because the whole power may be below what a double can be.
    let power = power - 4 * fraction.len() as i32;
    sign * mantissa as f64 * 2f64.powi(power / 2) * 2f64.powi(power - power / 2)
}

/// What ST(0) is after the operands were loaded in this order and the instruction has run, as
/// its sign, the 64 bits of its mantissa and their power of two.
fn result_of(name: &str, operands: &[f64]) -> (bool, u64, i32) {
    let mut machine = Machine::new();
    for (place, operand) in operands.iter().enumerate() {
        machine.memory.write(NOTES + 8 * place as u64, operand.to_bits()).unwrap();
    }
    machine.put(KERNEL, |a| {
        a.fninit()?;
        for place in 0..operands.len() as u64 {
            a.fld(qword_ptr(NOTES + 8 * place))?;
        }
        match name {
            "sin" => a.fsin()?,
            "cos" => a.fcos()?,
            "tan" => {
                a.fptan()?;
                a.fstp(st0)?;
            }
            "atan" => a.fpatan()?,
            "exp" => a.f2xm1()?,
            "log" => a.fyl2x()?,
            "log1" => a.fyl2xp1()?,
            other => panic!("{other}"),
        }
        a.fstp(tbyte_ptr(NOTES + 0x40))?;
        a.hlt()
    });
    machine.run(100);
    let mantissa: u64 = machine.memory.read(NOTES + 0x40).unwrap();
    let top: u16 = machine.memory.read(NOTES + 0x48).unwrap();
    (top >> 15 == 1, mantissa, i32::from(top & 0x7FFF) - 16_383 - 63)
}

#[test]
fn sine_to_logarithm_are_those_of_mathematics() {
    let mut wrong = Vec::new();
    let table = include_str!("mathematics.txt");
    for line in table.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [name, operands @ .., mantissa, power] = &words[..] else { panic!("{line}") };
        let operands: Vec<f64> = operands.iter().map(|word| double(word)).collect();
        let negative = mantissa.starts_with('-');
        let expected = u64::from_str_radix(mantissa.trim_start_matches('-'), 16).unwrap();
        let power: i32 = power.parse().unwrap();
        let (sign, found, exponent) = result_of(name, &operands);
        // Next to a power of two they may differ in the exponent.
        let least = exponent.min(power);
        let scaled = |bits: u64, power: i32| u128::from(bits) << (power - least).min(2);
        let off = scaled(found, exponent).abs_diff(scaled(expected, power));
        if sign != negative || off > ULPS {
            wrong.push(format!("{line}: {found:x} {exponent}, {off} units"));
        }
    }
    assert!(table.lines().count() > 70);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn approximate_reciprocals_keep_their_error_bound() {
    let mut worst = [0f64; 2];
    for step in 0..4096u32 {
        let number = f32::from_bits(0x3F80_0000 + step * 4099 + (step % 64) * 0x80_0000);
        let mut machine = Machine::new();
        machine.memory.write(NOTES, number.to_bits()).unwrap();
        machine.put(KERNEL, |a| {
            a.rcpss(xmm0, dword_ptr(NOTES))?;
            a.rsqrtss(xmm1, dword_ptr(NOTES))?;
            a.movss(dword_ptr(NOTES + 8), xmm0)?;
            a.movss(dword_ptr(NOTES + 16), xmm1)?;
            a.hlt()
        });
        machine.run(100);
        let number = f64::from(number);
        for (at, exact) in [1.0 / number, 1.0 / number.sqrt()].into_iter().enumerate() {
            let bits: u32 = machine.memory.read(NOTES + 8 + 8 * at as u64).unwrap();
            let off = (f64::from(f32::from_bits(bits)) / exact - 1.0).abs();
            worst[at] = worst[at].max(off);
        }
    }
    assert!(worst.iter().all(|worst| *worst <= APPROXIMATE), "{worst:?}");
    assert!(worst.iter().all(|worst| *worst > 0.0), "nothing was asked: {worst:?}");
}
