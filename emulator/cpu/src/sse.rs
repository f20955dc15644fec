//! stub
use crate::core::{Core, Fault};
use crate::uop::Uop;
pub(crate) fn lower(_i: &iced_x86::Instruction) -> Option<Uop> {
    None
}
impl Core<'_> {
    pub(crate) fn sse_move(&mut self, _uop: &Uop) -> Result<(), Fault> {
        Err(self.undefined())
    }
    pub(crate) fn sse_lane(&mut self, _uop: &Uop) -> Result<(), Fault> {
        Err(self.undefined())
    }
    pub(crate) fn sse_float(&mut self, _uop: &Uop) -> Result<(), Fault> {
        Err(self.undefined())
    }
    pub(crate) fn save_area(&mut self, _uop: &Uop) -> Result<(), Fault> {
        Err(self.undefined())
    }
}
