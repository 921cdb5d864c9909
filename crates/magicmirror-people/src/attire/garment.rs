//! Garments: shells over the skin, cut by curves on the template body, with collars and hoods of their own.

mod cut;
mod parts;

use super::fitting::Fitting;
use super::solid::Solid;
use super::stuff::Stuff;
use crate::colour::{Rgb, rgb, scale};
use crate::scene::{Garment, Outfit};
use cut::Cut;
pub(crate) use cut::{Shell, cover};
use parts::{collar, hood, lapels, roll, strings};

/// What is worn, for one body.
pub(crate) struct Clothing {
    /// Shells over the skin, the inner one first.
    pub(crate) shells: Vec<Shell>,
    /// Collars, hoods, buttons.
    pub(crate) solids: Vec<(Solid, Stuff, Rgb)>,
}

impl Clothing {
    /// Makes an outfit.
    pub(crate) fn new(outfit: Outfit, body: &Fitting) -> Self {
        let colour = outfit.colour.albedo();
        let round = Cut {
            front: -0.192,
            side: -0.152,
            back: -0.138,
            half_width: 0.066,
            shoulder: 1.0,
            open: false,
            band: 0.014,
        };
        let shell = |cut, stuff, colour, thickness| Shell { cut, stuff, colour, thickness };
        let mut clothing = Self { shells: Vec::new(), solids: Vec::new() };
        match outfit.garment {
            Garment::TShirt => clothing.shells.push(shell(round, Stuff::Cloth, colour, 0.006)),
            Garment::Shirt => {
                let cut = Cut { front: -0.178, band: 0.0, ..round };
                clothing.shells.push(shell(cut, Stuff::Buttoned, colour, 0.006));
                clothing.solids.push((collar(body, 0.0), Stuff::Cloth, scale(colour, 1.05)));
            }
            Garment::Sweater => {
                let cut = Cut { front: -0.184, band: 0.02, ..round };
                clothing.shells.push(shell(cut, Stuff::Knit, colour, 0.011));
            }
            Garment::Turtleneck => {
                let cut = Cut { front: -0.170, half_width: 0.060, band: 0.0, ..round };
                clothing.shells.push(shell(cut, Stuff::Knit, colour, 0.009));
                clothing.solids.push((roll(body), Stuff::Knit, colour));
            }
            Garment::Hoodie => {
                let cut = Cut { front: -0.190, band: 0.018, ..round };
                clothing.shells.push(shell(cut, Stuff::Cloth, colour, 0.012));
                clothing.solids.push((hood(body), Stuff::Cloth, scale(colour, 0.97)));
                clothing.solids.push((strings(body), Stuff::Cloth, rgb(0xE8_E6_E0)));
            }
            Garment::Jacket => {
                let white = rgb(0xEC_EC_EA);
                let inner = Cut { front: -0.178, band: 0.0, ..round };
                clothing.shells.push(shell(inner, Stuff::Buttoned, white, 0.005));
                let outer = Cut { front: -0.20, open: true, half_width: 0.070, ..inner };
                clothing.shells.push(shell(outer, Stuff::Cloth, colour, 0.014));
                clothing.solids.push((collar(body, 0.0), Stuff::Cloth, white));
                clothing.solids.push((lapels(body), Stuff::Cloth, scale(colour, 1.08)));
            }
            Garment::TankTop => {
                let cut = Cut {
                    front: -0.226,
                    side: -0.175,
                    back: -0.20,
                    half_width: 0.080,
                    shoulder: 0.142,
                    open: false,
                    band: 0.010,
                };
                clothing.shells.push(shell(cut, Stuff::Knit, colour, 0.006));
            }
            Garment::Dress => {
                let cut = Cut { front: -0.222, side: -0.168, back: -0.185, half_width: 0.108, band: 0.006, ..round };
                clothing.shells.push(shell(cut, Stuff::Cloth, colour, 0.005));
            }
        }
        clothing
    }
}
