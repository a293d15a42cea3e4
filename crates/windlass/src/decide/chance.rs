//! Chance that can be repeated: numbers that follow from a seed. Where the seed comes from is not decided here.

/// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): turns a counter into 64 well-mixed bits.
pub(crate) fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
