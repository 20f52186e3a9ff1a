//! Layout of the task control block in the kernel of a firmware.

use gimli::constants as dw;
use gimli::{AttributeValue, UnitOffset};

use super::{Dwarf, Unit};
use crate::elf::{ElfError, FunctionSymbol};

/// The control block in the kernel of `FreeRTOS` (`tasks.c`).
const STRUCTURE: &[u8] = b"tskTaskControlBlock";
/// Functions in the file that defines it.
const NEIGHBOURS: [&[u8]; 4] =
    [b"vTaskSwitchContext", b"xTaskIncrementTick", b"vTaskDelay", b"vTaskStartScheduler"];

/// Offsets of the members, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TaskBlock {
    pub(crate) top_of_stack: u32,
    pub(crate) priority: u32,
    pub(crate) stack: u32,
    pub(crate) name: u32,
    pub(crate) base_priority: Option<u32>,
    pub(crate) end_of_stack: Option<u32>,
    pub(crate) core: Option<u32>,
}

/// The members at the same offset in all known builds; those after the name differ.
pub(crate) const fn common_layout() -> TaskBlock {
    TaskBlock {
        top_of_stack: 0,
        priority: 44,
        stack: 48,
        name: 52,
        base_priority: None,
        end_of_stack: None,
        core: None,
    }
}

impl<'a> Dwarf<'a, '_> {
    /// `None` if the debugging information does not describe it.
    pub(crate) fn task_block(
        &mut self,
        functions: &[FunctionSymbol<'a>],
    ) -> Result<Option<TaskBlock>, ElfError> {
        let neighbours: Vec<u32> = functions
            .iter()
            .filter(|function| NEIGHBOURS.contains(&function.name))
            .map(|function| function.start)
            .collect();
        for index in self.units_of(&neighbours)? {
            let Some(unit) = self.unit(index) else { continue };
            let block = self.structure(&unit)?;
            self.units.remove(&index);
            if block.is_some() {
                return Ok(block);
            }
        }
        Ok(None)
    }

    fn structure(&mut self, unit: &Unit<'a>) -> Result<Option<TaskBlock>, ElfError> {
        let Ok(mut entries) = unit.entries_raw(None) else { return Ok(None) };
        while !entries.is_empty() {
            let (depth, offset) = (entries.next_depth(), entries.next_offset());
            self.budget.entry(depth)?;
            let Ok(abbreviation) = entries.read_abbreviation() else { break };
            let Some(abbreviation) = abbreviation else { continue };
            if entries.skip_attributes(abbreviation.attributes()).is_err() {
                break;
            }
            let is_structure = depth == 1 && abbreviation.tag() == dw::DW_TAG_structure_type;
            if is_structure
                && abbreviation.has_children()
                && self.text(unit, offset, dw::DW_AT_name).as_deref() == Some(STRUCTURE)
            {
                return self.members(unit, offset);
            }
        }
        Ok(None)
    }

    fn members(
        &mut self,
        unit: &Unit<'a>,
        structure: UnitOffset,
    ) -> Result<Option<TaskBlock>, ElfError> {
        let mut found = Vec::new();
        let Ok(mut entries) = unit.entries_raw(Some(structure)) else { return Ok(None) };
        loop {
            let (depth, offset) = (entries.next_depth(), entries.next_offset());
            if entries.is_empty() || (depth <= 0 && offset != structure) {
                break;
            }
            self.budget.entry(depth)?;
            let Ok(abbreviation) = entries.read_abbreviation() else { break };
            let Some(abbreviation) = abbreviation else { continue };
            if entries.skip_attributes(abbreviation.attributes()).is_err() {
                break;
            }
            if depth == 1 && abbreviation.tag() == dw::DW_TAG_member {
                found.extend(self.member(unit, offset));
            }
        }
        let at = |name: &[u8]| found.iter().find(|(known, _)| known == name).map(|(_, at)| *at);
        let (Some(top_of_stack), Some(priority), Some(stack), Some(name)) =
            (at(b"pxTopOfStack"), at(b"uxPriority"), at(b"pxStack"), at(b"pcTaskName"))
        else {
            return Ok(None);
        };
        Ok(Some(TaskBlock {
            top_of_stack,
            priority,
            stack,
            name,
            base_priority: at(b"uxBasePriority"),
            end_of_stack: at(b"pxEndOfStack"),
            core: at(b"xCoreID"),
        }))
    }

    fn member(&self, unit: &Unit<'a>, offset: UnitOffset) -> Option<(Vec<u8>, u32)> {
        let name = self.text(unit, offset, dw::DW_AT_name)?;
        let entry = unit.entry(offset).ok()?;
        let place = entry.attr(dw::DW_AT_data_member_location)?;
        let place = match place.value() {
            // DW_OP_plus_uconst, as old compilers write it.
            AttributeValue::Exprloc(expression) => {
                let mut operations = expression.operations(unit.encoding());
                match operations.next().ok()?? {
                    gimli::Operation::PlusConstant { value } => value,
                    _ => return None,
                }
            }
            _ => place.udata_value()?,
        };
        Some((name, u32::try_from(place).ok()?))
    }

    fn text(&self, unit: &Unit<'a>, offset: UnitOffset, name: gimli::DwAt) -> Option<Vec<u8>> {
        let value = unit.entry(offset).ok()?.attr_value(name)?;
        Some(self.sections.attr_string(unit, value).ok()?.slice().to_vec())
    }
}
