//! stub
use crate::core::{Core, Fault};
use crate::uop::Uop;
/// x87
#[derive(Clone, Copy, Debug, Default)]
pub struct X87 {
    /// tags
    pub tags: u8,
}
pub(crate) fn lower(_i: &iced_x86::Instruction) -> Option<Uop> {
    None
}
impl Core<'_> {
    pub(crate) fn x87(&mut self, _uop: &Uop) -> Result<(), Fault> {
        Err(self.undefined())
    }
}
impl crate::State {
    /// fx
    pub fn legacy_area(&self) -> [u8; 512] {
        [0; 512]
    }
    /// fx
    pub fn set_legacy_area(&mut self, _area: &[u8; 512]) {}
}
