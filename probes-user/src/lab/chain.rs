//! Labs one after the other, as one.

use std::sync::Arc;

use anyhow::Result;

use super::{KernelView, Lab, Scene};

pub struct Chain {
    labs: Vec<Box<dyn Lab>>,
    at: usize,
}

impl Chain {
    pub fn new(labs: Vec<Box<dyn Lab>>) -> Chain {
        Chain { labs, at: 0 }
    }
}

impl Lab for Chain {
    fn scenes(&self) -> usize {
        self.labs.iter().map(|lab| lab.scenes()).sum()
    }

    fn next(&mut self, view: &Arc<dyn KernelView>) -> Result<Option<Box<dyn Scene>>> {
        while let Some(lab) = self.labs.get_mut(self.at) {
            match lab.next(view)? {
                Some(scene) => return Ok(Some(scene)),
                None => self.at += 1,
            }
        }
        Ok(None)
    }

    fn again(&mut self) {
        if let Some(lab) = self.labs.get_mut(self.at) {
            lab.again();
        }
    }
}
