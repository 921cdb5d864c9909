//! Contact sheet.
use magicmirror_people::{Person, Scene, Set, scene::*};
use std::io::Write;
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mode = args.get(1).map_or("groups", |s| s.as_str());
    let (w, h) = (args.get(3).map_or(240, |s| s.parse().unwrap()), args.get(4).map_or(240, |s| s.parse().unwrap()));
    let base: u64 = args.get(5).map_or(1, |s| s.parse().unwrap());
    let zoom: f32 = args.get(6).map_or(1.0, |s| s.parse().unwrap());
    let mut cells = vec![];
    let (cols, rows) = if mode == "groups" {
        (7, 4)
    } else if mode == "expr" {
        (8, 7)
    } else {
        (6, 4)
    };
    for row in 0..rows {
        for col in 0..cols {
            let n = row * cols + col;
            let group = match mode {
                "groups" => Group::ALL[col],
                "expr" => Group::Woman,
                _ => {
                    if n % 2 == 0 {
                        Group::Man
                    } else {
                        Group::Woman
                    }
                }
            };
            let seed = match mode {
                "groups" => base + row as u64,
                "expr" | "light" | "pose" => base,
                _ => base + n as u64,
            };
            let person = Person::from_seed(seed, group);
            let scene = Scene {
                person,
                outfit: Outfit { garment: Garment::TShirt, colour: NamedColour::Blue },
                hat: None,
                background: Background { place: Place::Plain(NamedColour::Grey), seed: 2 * n as u64 + 3 },
                lighting: if mode == "light" {
                    Lighting::ALL[n % 8]
                } else {
                    Lighting::ALL[[0, 4, 3, 1][if mode == "groups" { row % 4 } else { 0 }]]
                },
            };
            let set = Set::new(&scene);
            let mut expression = vec![0.0; 52];
            if mode == "expr" && n < 52 {
                expression[n] = 1.0;
            }
            let pose = if mode == "pose" {
                HeadPose {
                    yaw: -0.9 + 0.36 * col as f32,
                    pitch: -0.4 + 0.27 * row as f32,
                    roll: 0.1 * col as f32 - 0.25,
                }
            } else {
                HeadPose::default()
            };
            let moment = Moment {
                pose,
                gaze: Gaze { yaw: if mode == "pose" { -pose.yaw * 0.3 } else { 0.0 }, pitch: 0.0 },
                expression,
                sway: [0.0; 3],
                camera: Camera { field_of_view: 0.42 / zoom, distance: 1.1, right: 0.0, up: -0.02 * zoom.min(1.0) },
            };
            cells.push(set.shoot(&moment, Size { width: w, height: h }));
        }
    }
    let (tw, th) = (cols * w, rows * h);
    let mut out = vec![0u8; tw * th * 3];
    for (n, p) in cells.iter().enumerate() {
        let (cx, cy) = (n % cols * w, n / cols * h);
        for y in 0..h {
            out[((cy + y) * tw + cx) * 3..][..w * 3].copy_from_slice(&p.rgb[y * w * 3..][..w * 3]);
        }
    }
    let mut f = std::fs::File::create(&args[2]).unwrap();
    write!(f, "P6 {tw} {th} 255\n").unwrap();
    f.write_all(&out).unwrap();
}
