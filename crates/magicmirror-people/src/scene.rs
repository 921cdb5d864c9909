//! What is in a picture: the words that identity, renderer, motion and captions share.

use serde::{Deserialize, Serialize};

/// The seven groups of people that the paper evaluates on (arXiv 2501.03931, A.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// An adult man.
    Man,
    /// An adult woman.
    Woman,
    /// An old man.
    ElderlyMan,
    /// An old woman.
    ElderlyWoman,
    /// A male child.
    Boy,
    /// A female child.
    Girl,
    /// A baby.
    Baby,
}

impl Group {
    /// All groups, in the paper's order.
    pub const ALL: [Self; 7] =
        [Self::Man, Self::Woman, Self::ElderlyMan, Self::ElderlyWoman, Self::Boy, Self::Girl, Self::Baby];

    /// The noun that the trigger word follows in a caption.
    pub fn class_word(self) -> &'static str {
        match self {
            Self::Man | Self::ElderlyMan => "man",
            Self::Woman | Self::ElderlyWoman => "woman",
            Self::Boy => "boy",
            Self::Girl => "girl",
            Self::Baby => "baby",
        }
    }
}

/// A colour that has a name in captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NamedColour {
    /// Red.
    Red,
    /// Orange.
    Orange,
    /// Yellow.
    Yellow,
    /// Green.
    Green,
    /// Teal.
    Teal,
    /// Blue.
    Blue,
    /// Purple.
    Purple,
    /// Pink.
    Pink,
    /// Brown.
    Brown,
    /// White.
    White,
    /// Grey.
    Grey,
    /// Black.
    Black,
}

impl NamedColour {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Red,
        Self::Orange,
        Self::Yellow,
        Self::Green,
        Self::Teal,
        Self::Blue,
        Self::Purple,
        Self::Pink,
        Self::Brown,
        Self::White,
        Self::Grey,
        Self::Black,
    ];
}

/// What is worn below the neck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outfit {
    /// The piece of clothing.
    pub garment: Garment,
    /// Its colour.
    pub colour: NamedColour,
}

/// A piece of clothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Garment {
    /// Round neck, short sleeves.
    TShirt,
    /// Collar and buttons.
    Shirt,
    /// Knitted, round neck.
    Sweater,
    /// Knitted, up to the chin.
    Turtleneck,
    /// With a hood behind the neck.
    Hoodie,
    /// Jacket over a white shirt.
    Jacket,
    /// Shoulders free.
    TankTop,
    /// Wide neck.
    Dress,
}

impl Garment {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::TShirt,
        Self::Shirt,
        Self::Sweater,
        Self::Turtleneck,
        Self::Hoodie,
        Self::Jacket,
        Self::TankTop,
        Self::Dress,
    ];
}

/// Something on the head. Put on for a scene: no part of the identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hat {
    /// The kind.
    pub kind: HatKind,
    /// Its colour.
    pub colour: NamedColour,
}

/// A kind of hat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HatKind {
    /// Knitted, close to the head.
    Beanie,
    /// With a peak.
    Cap,
    /// With a wide brim.
    SunHat,
    /// Cone of paper.
    PartyHat,
}

impl HatKind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Beanie, Self::Cap, Self::SunHat, Self::PartyHat];
}

/// A place, painted behind the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Background {
    /// Which kind of place.
    pub place: Place,
    /// Chooses among the places of the kind.
    pub seed: u64,
}

/// A kind of place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// A plain backdrop.
    Plain(NamedColour),
    /// Sofa, window, lamp.
    LivingRoom,
    /// Shelves, tiles.
    Kitchen,
    /// Desk, screen, blinds.
    Office,
    /// Walls of books.
    Library,
    /// Blue sky and clouds.
    Sky,
    /// Trees and grass.
    Park,
    /// Houses and windows.
    Street,
    /// Sand, sea and sky.
    Beach,
    /// Mountains, snow.
    Mountains,
    /// Lights of a city in the dark.
    NightCity,
}

/// A light with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lighting {
    /// Even, from above and in front.
    SoftDaylight,
    /// Bright, hard shadows, from high at one side.
    BrightSun,
    /// Warm and low, from the side.
    Sunset,
    /// From a window at one side.
    Window,
    /// Three lamps.
    Studio,
    /// Warm lamps, dim.
    Lamplight,
    /// Cold and dim.
    Moonlight,
    /// Pink from one side, blue from the other.
    Neon,
}

impl Lighting {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::SoftDaylight,
        Self::BrightSun,
        Self::Sunset,
        Self::Window,
        Self::Studio,
        Self::Lamplight,
        Self::Moonlight,
        Self::Neon,
    ];

    /// Its name in data sets.
    pub fn name(self) -> &'static str {
        match self {
            Self::SoftDaylight => "soft_daylight",
            Self::BrightSun => "bright_sun",
            Self::Sunset => "sunset",
            Self::Window => "window",
            Self::Studio => "studio",
            Self::Lamplight => "lamplight",
            Self::Moonlight => "moonlight",
            Self::Neon => "neon",
        }
    }
}

/// How the head is turned, in radians; all zero looks straight ahead.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct HeadPose {
    /// Positive turns the face towards the right of the picture.
    pub yaw: f32,
    /// Positive looks up.
    pub pitch: f32,
    /// Positive tilts the top of the head towards the right of the picture.
    pub roll: f32,
}

/// Where the eyes look relative to the head, in radians.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Gaze {
    /// Positive: towards the right of the picture.
    pub yaw: f32,
    /// Positive: up.
    pub pitch: f32,
}

/// The viewer's eye. Lengths in metres; the person's head is about 0.25 m high, its centre the origin at rest.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Camera {
    /// Vertical angle of view, in radians.
    pub field_of_view: f32,
    /// From the head's centre at rest.
    pub distance: f32,
    /// The camera's place sideways (positive: to the right of the picture, so that the person moves left).
    pub right: f32,
    /// The camera's place upwards.
    pub up: f32,
}

/// How everything that moves stands at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moment {
    /// The head.
    pub pose: HeadPose,
    /// The eyes.
    pub gaze: Gaze,
    /// The face: weights, 0 to 1, of the units of [`crate::scene::EXPRESSION_UNITS`].
    pub expression: Vec<f32>,
    /// The body's shift `[right, up, towards the viewer]` in metres.
    pub sway: [f32; 3],
    /// The viewer.
    pub camera: Camera,
}

/// Names of the facial actions (ARKit's), in the order of [`Moment::expression`]; left and right are the person's own.
pub const EXPRESSION_UNITS: [&str; 52] = [
    "browDownLeft",
    "browDownRight",
    "browInnerUp",
    "browOuterUpLeft",
    "browOuterUpRight",
    "cheekPuff",
    "cheekSquintLeft",
    "cheekSquintRight",
    "eyeBlinkLeft",
    "eyeBlinkRight",
    "eyeLookDownLeft",
    "eyeLookDownRight",
    "eyeLookInLeft",
    "eyeLookInRight",
    "eyeLookOutLeft",
    "eyeLookOutRight",
    "eyeLookUpLeft",
    "eyeLookUpRight",
    "eyeSquintLeft",
    "eyeSquintRight",
    "eyeWideLeft",
    "eyeWideRight",
    "jawForward",
    "jawLeft",
    "jawOpen",
    "jawRight",
    "mouthClose",
    "mouthDimpleLeft",
    "mouthDimpleRight",
    "mouthFrownLeft",
    "mouthFrownRight",
    "mouthFunnel",
    "mouthLeft",
    "mouthLowerDownLeft",
    "mouthLowerDownRight",
    "mouthPressLeft",
    "mouthPressRight",
    "mouthPucker",
    "mouthRight",
    "mouthRollLower",
    "mouthRollUpper",
    "mouthShrugLower",
    "mouthShrugUpper",
    "mouthSmileLeft",
    "mouthSmileRight",
    "mouthStretchLeft",
    "mouthStretchRight",
    "mouthUpperUpLeft",
    "mouthUpperUpRight",
    "noseSneerLeft",
    "noseSneerRight",
    "tongueOut",
];

/// Sides of a picture in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
}

/// A picture, and what is true of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Sides.
    pub size: Size,
    /// Red, green, blue of each pixel, row by row (sRGB).
    pub rgb: Vec<u8>,
    /// 255 × how much of each pixel is the person's face (skin, eyes, lips, brows and beard in front of the ears, hair
    /// line to chin) and is not hidden by glasses' rims, hair or a hat. Nothing beyond the pixels that [`Self::face_box`]
    /// touches.
    pub face_mask: Vec<u8>,
    /// Smallest box `[x1, y1, x2, y2]` around the face (forehead to chin, cheek to cheek), hidden parts included; it may
    /// reach out of the picture.
    pub face_box: [f32; 4],
    /// Left eye, right eye, nose tip, left and right mouth corner as seen in the picture, in pixels.
    pub landmarks: [[f32; 2]; 5],
}
