//! One round of AES (FIPS 197). The state's columns are the vector's 32-bit lanes.

/// Multiplication by x in GF(2^8).
fn twice(x: u8) -> u8 {
    x << 1 ^ if x & 0x80 != 0 { 0x1B } else { 0 }
}

fn product(x: u8, by: u8) -> u8 {
    let (mut r, mut power) = (0, x);
    for bit in 0..4 {
        if by >> bit & 1 != 0 {
            r ^= power;
        }
        power = twice(power);
    }
    r
}

const fn multiply(mut a: u8, mut b: u8) -> u8 {
    let mut r = 0;
    while b != 0 {
        if b & 1 != 0 {
            r ^= a;
        }
        a = a << 1 ^ if a & 0x80 != 0 { 0x1B } else { 0 };
        b >>= 1;
    }
    r
}

/// The S-box: inverse in GF(2^8), then an affine map.
const BOX: [u8; 256] = {
    let mut table = [0; 256];
    let mut x = 0;
    while x < 256 {
        let mut inverse = 0;
        let mut y = 1;
        while x > 0 && y < 256 {
            if multiply(x as u8, y as u8) == 1 {
                inverse = y as u8;
            }
            y += 1;
        }
        table[x] = inverse
            ^ inverse.rotate_left(1)
            ^ inverse.rotate_left(2)
            ^ inverse.rotate_left(3)
            ^ inverse.rotate_left(4)
            ^ 0x63;
        x += 1;
    }
    table
};

const INVERSE: [u8; 256] = {
    let mut table = [0; 256];
    let mut x = 0;
    while x < 256 {
        table[BOX[x] as usize] = x as u8;
        x += 1;
    }
    table
};

fn mix(state: [u8; 16], by: [u8; 4]) -> [u8; 16] {
    let mut r = [0; 16];
    for (at, byte) in r.iter_mut().enumerate() {
        let (column, row) = (at / 4 * 4, at % 4);
        for n in 0..4 {
            *byte ^= product(state[column + (row + n) % 4], by[n]);
        }
    }
    r
}

fn shifted(state: [u8; 16], step: usize) -> [u8; 16] {
    let mut r = [0; 16];
    for (at, byte) in r.iter_mut().enumerate() {
        *byte = state[(at + at % 4 * step) % 16];
    }
    r
}

pub(crate) fn encrypt(state: u128, key: u128, last: bool) -> u128 {
    let mut s = shifted(state.to_le_bytes(), 4).map(|byte| BOX[byte as usize]);
    if !last {
        s = mix(s, [2, 3, 1, 1]);
    }
    u128::from_le_bytes(s) ^ key
}

pub(crate) fn decrypt(state: u128, key: u128, last: bool) -> u128 {
    let mut s = shifted(state.to_le_bytes(), 12).map(|byte| INVERSE[byte as usize]);
    if !last {
        s = mix(s, [14, 11, 13, 9]);
    }
    u128::from_le_bytes(s) ^ key
}

pub(crate) fn inverse_mix(key: u128) -> u128 {
    u128::from_le_bytes(mix(key.to_le_bytes(), [14, 11, 13, 9]))
}

pub(crate) fn key_assist(v: u128, constant: u8) -> u128 {
    let substitute = |lane: u32| {
        let word = (v >> (32 * lane)) as u32;
        u32::from_le_bytes(word.to_le_bytes().map(|byte| BOX[byte as usize]))
    };
    let (first, third) = (substitute(1), substitute(3));
    let turn = |word: u32| word.rotate_right(8) ^ u32::from(constant);
    u128::from(first)
        | u128::from(turn(first)) << 32
        | u128::from(third) << 64
        | u128::from(turn(third)) << 96
}
