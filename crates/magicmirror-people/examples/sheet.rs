use magicmirror_people::backdrop::Backdrop;
use magicmirror_people::scene::*;
fn srgb(v: f32) -> u8 { let v = v.clamp(0.0, 1.0); ((if v <= 0.0031308 { v*12.92 } else { 1.055*v.powf(1.0/2.4)-0.055 })*255.0+0.5) as u8 }
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let size = Size { width: args[2].parse().unwrap(), height: args[3].parse().unwrap() };
    let places: Vec<Place> = [Place::LivingRoom, Place::Kitchen, Place::Office, Place::Library, Place::Sky, Place::Park, Place::Street, Place::Beach, Place::Mountains, Place::NightCity].into();
    let mut tiles = vec![];
    let mut columns = 8;
    let camera = Camera { field_of_view: 0.42, distance: 1.35, right: 0.0, up: 0.0 };
    match args[1].as_str() {
        "lights" => for place in places { for l in Lighting::ALL { tiles.push(Backdrop::new(&Background { place, seed: 3 }, l).view(&camera, size)); } },
        "seeds" => { columns = 4; for place in places { for seed in 10..14 { tiles.push(Backdrop::new(&Background { place, seed }, Lighting::SoftDaylight).view(&camera, size)); } } },
        _ => { columns = 6; for c in NamedColour::ALL { tiles.push(Backdrop::new(&Background { place: Place::Plain(c), seed: 3 }, Lighting::Studio).view(&camera, size)); } }
    }
    let rows = tiles.len().div_ceil(columns);
    let mut out = format!("P6 {} {} 255\n", columns*size.width, rows*size.height).into_bytes();
    for r in 0..rows { for y in 0..size.height { for c in 0..columns { for x in 0..size.width {
        let p = tiles[r*columns+c][y*size.width+x]; out.extend(p.map(srgb)); } } } }
    std::fs::write(&args[4], out).unwrap();
}
