//! Places behind the person: painted from a seed, a little out of focus, lit as the person is.
//!
//! A place is a plane at some distance behind the head. So it moves and grows with the camera as the person does, but
//! less, the farther away it is.

mod canvas;
mod indoors;
mod outdoors;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::colour::{Rgb, mix, rgb, scale, times};
use crate::light::Lights;
use crate::scene::{Background, Camera, Lighting, Place, Size};
use canvas::{Canvas, between, noise, pick};

/// A place, painted once for a scene.
pub struct Backdrop {
    canvas: Canvas,
    /// Metres behind the head's centre.
    depth: f32,
}

/// Rows of the canvas: a usual view takes some 60 % of them, and the blur makes more useless.
const ROWS: usize = 288;
/// The view whose height is [`VIEW`] of the canvas: a bust.
const USUAL: Camera = Camera { field_of_view: 0.42, distance: 1.35, right: 0.0, up: 0.0 };
const VIEW: f32 = 0.62;

impl Backdrop {
    /// Paints the place.
    pub fn new(background: &Background, lighting: Lighting) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(background.seed ^ 0xBACD_2071);
        let lights = Lights::new(lighting, background.seed);
        let mood = Mood::new(lighting, &lights);
        let mut canvas = Canvas::new(ROWS);
        match background.place {
            Place::Plain(colour) => plain(&mut canvas, &mut random, &mood, colour.albedo()),
            Place::LivingRoom => indoors::living_room(&mut canvas, &mut random, &mood),
            Place::Kitchen => indoors::kitchen(&mut canvas, &mut random, &mood),
            Place::Office => indoors::office(&mut canvas, &mut random, &mood),
            Place::Library => indoors::library(&mut canvas, &mut random, &mood),
            Place::Sky => outdoors::sky(&mut canvas, &mut random, &mood),
            Place::Park => outdoors::park(&mut canvas, &mut random, &mood),
            Place::Street => outdoors::street(&mut canvas, &mut random, &mood),
            Place::Beach => outdoors::beach(&mut canvas, &mut random, &mood),
            Place::Mountains => outdoors::mountains(&mut canvas, &mut random, &mood),
            Place::NightCity => outdoors::night_city(&mut canvas, &mut random, &mood),
        }
        if background.place != Place::NightCity {
            wash(&mut canvas, &lights);
        }
        canvas.blur(0.0052);
        let depth = match background.place {
            Place::Plain(_) => 0.8,
            Place::LivingRoom | Place::Kitchen | Place::Office | Place::Library => 2.0,
            Place::Park | Place::Street | Place::NightCity => 8.0,
            Place::Sky | Place::Beach | Place::Mountains => 30.0,
        };
        Self { canvas, depth }
    }

    /// The place as `camera` sees it: linear light of each pixel, row by row.
    pub fn view(&self, camera: &Camera, size: Size) -> Vec<Rgb> {
        let half = |camera: &Camera| libm::tanf(camera.field_of_view / 2.0) * (camera.distance + self.depth);
        let canvas_from_metres = VIEW / (2.0 * half(&USUAL));
        let step = 2.0 * half(camera) / size.height as f32 * canvas_from_metres;
        let left = Canvas::ASPECT / 2.0 + camera.right * canvas_from_metres - step * (size.width as f32 - 1.0) / 2.0;
        let top = 0.5 - camera.up * canvas_from_metres - step * (size.height as f32 - 1.0) / 2.0;
        let columns: Vec<_> = (0..size.width)
            .map(|column| taps(left + step * column as f32, self.canvas.height, self.canvas.width))
            .collect();
        let mut view = Vec::with_capacity(size.width * size.height);
        for row in 0..size.height {
            let (upper, lower, down) = taps(top + step * row as f32, self.canvas.height, self.canvas.height);
            let line = |row: usize| &self.canvas.pixels[row * self.canvas.width..][..self.canvas.width];
            let (upper, lower) = (line(upper), line(lower));
            view.extend(columns.iter().map(|&(one, other, across)| {
                mix(mix(upper[one], upper[other], across), mix(lower[one], lower[other], across), down)
            }));
        }
        view
    }
}

/// The two samples around a place on the canvas and the weight of the second; beyond its ends the canvas is mirrored.
fn taps(place: f32, unit: usize, count: usize) -> (usize, usize, f32) {
    let place = place * unit as f32 - 0.5;
    let below = place.floor();
    let mirrored = |index: i64| {
        let index = index.rem_euclid(2 * count as i64) as usize;
        index.min(2 * count - 1 - index)
    };
    (mirrored(below as i64), mirrored(below as i64 + 1), place - below)
}

/// What a lighting makes of a place.
struct Mood {
    /// On upright things.
    light: Rgb,
    /// Overhead.
    zenith: Rgb,
    /// Above the horizon.
    horizon: Rgb,
    /// Of clouds in the sky.
    cloud: Rgb,
    /// Of the sun or moon on the sky, if seen.
    disc: Option<Rgb>,
    /// Whether lamps and windows shine.
    dark: bool,
    /// The side that the light comes from: -1 left, 1 right.
    side: f32,
}

impl Mood {
    fn new(lighting: Lighting, lights: &Lights) -> Self {
        let (zenith, horizon, cloud, disc, level) = match lighting {
            Lighting::SoftDaylight => (0x6F_A3_DC, 0xC3_DA_EE, 0xF1_F4_F7, None, 1.0),
            Lighting::BrightSun => (0x2E_74_CF, 0xA5_CC_F0, 0xFF_FF_FF, Some(0xFF_FF_F0), 1.0),
            Lighting::Sunset => (0x6A_6C_A8, 0xF9_9A_4B, 0xF3_8E_6F, Some(0xFF_E9_A8), 0.9),
            Lighting::Window => (0x9F_B4_C8, 0xD6_DE_E6, 0xEE_F0_F2, None, 1.0),
            Lighting::Studio => (0x6C_97_C8, 0xBD_D2_E6, 0xF0_F2_F4, None, 1.0),
            Lighting::Lamplight => (0x2A_2E_4F, 0x7C_5A_63, 0x54_48_5C, None, 0.7),
            Lighting::Moonlight => (0x0B_14_2B, 0x24_38_5E, 0x35_46_68, Some(0xE9_EE_F6), 0.5),
            Lighting::Neon => (0x1B_12_38, 0x5A_2B_6E, 0x4C_2C_66, None, 0.6),
        };
        Self {
            light: scale(lights.on_place(0.0), level),
            zenith: rgb(zenith),
            horizon: rgb(horizon),
            cloud: rgb(cloud),
            disc: disc.map(rgb),
            dark: level < 0.8,
            side: lights.lamps[0].direction[0].signum(),
        }
    }

    /// Paint of the sRGB colour `hex` in this light.
    fn lit(&self, hex: u32) -> Rgb {
        times(rgb(hex), self.light)
    }
}

/// What lamps at the sides add and take.
fn wash(canvas: &mut Canvas, lights: &Lights) {
    let middle = lights.on_place(0.0);
    let change: Vec<Rgb> = (0..canvas.width)
        .map(|column| {
            let here = lights.on_place(2.0 * (column as f32 + 0.5) / canvas.width as f32 - 1.0);
            [0, 1, 2].map(|channel| here[channel] / middle[channel])
        })
        .collect();
    for row in canvas.pixels.chunks_exact_mut(canvas.width) {
        row.iter_mut().zip(&change).for_each(|(pixel, &change)| *pixel = times(*pixel, change));
    }
}

/// A backdrop of paper or painted wall: brighter where the light comes from, darker towards the corners.
fn plain(canvas: &mut Canvas, random: &mut ChaCha8Rng, mood: &Mood, albedo: Rgb) {
    let centre = [1.0 + mood.side * between(random, 0.05, 0.25), between(random, 0.35, 0.5)];
    let (fall, cloth) = (between(random, 0.25, 0.55), pick(random, &[0.0, 0.05, 0.12]));
    let seed = (between(random, 0.0, 1.0) * 65536.0) as u32;
    // It has a lamp of its own, so that its colour is seen in any light.
    let brightness = mood.light.iter().sum::<f32>() / 3.0;
    let light = scale(mix(mood.light, [brightness; 3], 0.4), if mood.dark { 0.42 } else { 0.90 } / brightness);
    canvas.paint([0.0, 0.0, Canvas::ASPECT, 1.0], |x, y, _| {
        let (across, down) = (x - centre[0], y - centre[1]);
        let mottled = 1.0 + cloth * (noise(seed, x * 5.0, y * 5.0) - 0.5) * 2.0;
        scale(times(albedo, light), (1.06 - fall * (across * across + down * down)).max(0.4) * mottled)
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::colour::{nearest_name, plus};
    use crate::scene::NamedColour;

    const SIZE: Size = Size { width: 36, height: 24 };
    const PLACES: [Place; 11] = [
        Place::Plain(NamedColour::Green),
        Place::LivingRoom,
        Place::Kitchen,
        Place::Office,
        Place::Library,
        Place::Sky,
        Place::Park,
        Place::Street,
        Place::Beach,
        Place::Mountains,
        Place::NightCity,
    ];

    fn view(place: Place, seed: u64, lighting: Lighting, camera: &Camera) -> Vec<Rgb> {
        Backdrop::new(&Background { place, seed }, lighting).view(camera, SIZE)
    }

    fn mean(view: &[Rgb]) -> Rgb {
        scale(view.iter().copied().fold([0.0; 3], plus), 1.0 / view.len() as f32)
    }

    #[test]
    fn places_differ_and_are_the_same_each_time() {
        let views = PLACES.map(|place| view(place, 5, Lighting::SoftDaylight, &USUAL));
        for (index, place) in PLACES.into_iter().enumerate() {
            assert!(views[index] == view(place, 5, Lighting::SoftDaylight, &USUAL), "{place:?} changes");
            assert!(views[index] != view(place, 6, Lighting::SoftDaylight, &USUAL), "{place:?}: all alike");
            assert!(views[..index].iter().all(|other| other != &views[index]), "{place:?} looks like another");
        }
    }

    #[test]
    fn plain_backdrops_have_their_colour() {
        for lighting in [Lighting::SoftDaylight, Lighting::BrightSun, Lighting::Window, Lighting::Studio] {
            for colour in NamedColour::ALL {
                let seen = mean(&view(Place::Plain(colour), 7, lighting, &USUAL));
                assert_eq!(nearest_name(seen), colour, "{lighting:?}");
            }
        }
    }

    #[test]
    fn light_tints_the_place() {
        for place in PLACES.into_iter().filter(|&place| place != Place::NightCity) {
            let [sunset, moonlight, daylight] = [Lighting::Sunset, Lighting::Moonlight, Lighting::SoftDaylight]
                .map(|lighting| mean(&view(place, 5, lighting, &USUAL)));
            let warmth = |light: Rgb| light[0] / light[2];
            assert!(warmth(sunset) > 1.2 * warmth(daylight), "{place:?} at sunset: {sunset:?}, {daylight:?}");
            let sum = |light: Rgb| light.iter().sum::<f32>();
            assert!(sum(moonlight) < 0.7 * sum(daylight), "{place:?} by moonlight: {moonlight:?}, {daylight:?}");
        }
    }

    #[test]
    fn the_place_moves_against_the_camera() {
        // As far as two pixels are apart at the place's depth: 2 m behind the head.
        let step = 2.0 * 2.0 * libm::tanf(USUAL.field_of_view / 2.0) * (USUAL.distance + 2.0) / SIZE.height as f32;
        let still = view(Place::Library, 5, Lighting::Studio, &USUAL);
        let moved = view(Place::Library, 5, Lighting::Studio, &Camera { right: step, ..USUAL });
        for row in 0..SIZE.height {
            for column in 0..SIZE.width - 2 {
                let (seen, before) = (moved[row * SIZE.width + column], still[row * SIZE.width + column + 2]);
                assert!((0..3).all(|channel| (seen[channel] - before[channel]).abs() < 1e-3), "{column} {row}");
            }
        }
    }
}
