//! The picture and the page of a [`Modulation`].

use image::{Rgb, RgbImage};

use super::modulation::{Modulation, Point, Stream};
use crate::lettering;

/// Side of a panel, and the space around it, in pixels.
const PANEL: u32 = 460;
const MARGIN: u32 = 30;
const LEGEND: u32 = 120;
const RADIUS: i64 = 4;
const INK: Rgb<u8> = Rgb([40, 40, 40]);
/// Of letters.
const SCALE: u32 = 2;

const STREAMS: [Stream; 5] =
    [Stream::Video, Stream::VideoWithIdentity, Stream::Text, Stream::TextWithIdentity, Stream::Face];

/// Colours that people with any kind of colour vision tell apart (Okabe and Ito).
fn stream_colour(stream: Stream) -> Rgb<u8> {
    match stream {
        Stream::Video => Rgb([0, 114, 178]),
        Stream::VideoWithIdentity => Rgb([86, 180, 233]),
        Stream::Text => Rgb([213, 94, 0]),
        Stream::TextWithIdentity => Rgb([230, 159, 0]),
        Stream::Face => Rgb([0, 158, 115]),
    }
}

/// Three panels with the same points, coloured by stream, by layer and by timestep.
pub(super) fn draw(points: &[Point]) -> RgbImage {
    let mut image = RgbImage::from_pixel(3 * PANEL + 4 * MARGIN, PANEL + 2 * MARGIN + LEGEND, Rgb([255; 3]));
    let bounds = |value: fn(&Point) -> f64| {
        let all = points.iter().map(value);
        let (low, high) = all.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
        (low, (high - low).max(f64::MIN_POSITIVE))
    };
    let (across, down) = (bounds(|point| point.x), bounds(|point| point.y));
    let layers = bounds(|point| point.layer as f64);
    let times = bounds(|point| point.timestep as f64);
    let colour = |panel: u32, point: &Point| match panel {
        0 => stream_colour(point.stream),
        1 => gradient((point.layer as f64 - layers.0) / layers.1),
        _ => gradient((point.timestep as f64 - times.0) / times.1),
    };
    for (panel, title) in (0..).zip(["stream", "layer", "timestep"]) {
        let left = MARGIN + panel * (PANEL + MARGIN);
        lettering::write(&mut image, title, [left, 10], SCALE, INK);
        frame(&mut image, left, MARGIN);
        let inside = f64::from(PANEL - 20);
        for point in points {
            let x = f64::from(left + 10) + inside * (point.x - across.0) / across.1;
            let y = f64::from(MARGIN + 10) + inside * (point.y - down.0) / down.1;
            dot(&mut image, x.round() as i64, y.round() as i64, colour(panel, point));
        }
        let top = MARGIN + PANEL + 12;
        match panel {
            0 => {
                let seen = STREAMS.into_iter().filter(|stream| points.iter().any(|point| point.stream == *stream));
                for (row, stream) in (0..).zip(seen) {
                    dot(&mut image, i64::from(left + 6), i64::from(top + 8 + 20 * row), stream_colour(stream));
                    lettering::write(&mut image, stream.label(), [left + 20, top + 20 * row], SCALE, INK);
                }
            }
            1 => bar(&mut image, left, top, layers),
            _ => bar(&mut image, left, top, times),
        }
    }
    image
}

/// From dark violet by way of green to yellow, evenly lighter.
fn gradient(share: f64) -> Rgb<u8> {
    const STOPS: [[f64; 3]; 4] = [[68.0, 1.0, 84.0], [49.0, 104.0, 142.0], [53.0, 183.0, 121.0], [253.0, 231.0, 37.0]];
    let place = share.clamp(0.0, 1.0) * 3.0;
    let at = (place as usize).min(2);
    let between = place - at as f64;
    Rgb([0, 1, 2].map(|c| (STOPS[at][c] * (1.0 - between) + STOPS[at + 1][c] * between).round() as u8))
}

fn bar(image: &mut RgbImage, left: u32, top: u32, (low, range): (f64, f64)) {
    for x in 0..PANEL {
        let colour = gradient(f64::from(x) / f64::from(PANEL - 1));
        (0..14).for_each(|y| image.put_pixel(left + x, top + y, colour));
    }
    let high = (low + range).round().to_string();
    lettering::write(image, &low.round().to_string(), [left, top + 22], SCALE, INK);
    let width = 16 * high.len() as u32;
    lettering::write(image, &high, [left + PANEL - width, top + 22], SCALE, INK);
}

fn frame(image: &mut RgbImage, left: u32, top: u32) {
    for i in 0..PANEL {
        for (x, y) in [(i, 0), (i, PANEL - 1), (0, i), (PANEL - 1, i)] {
            image.put_pixel(left + x, top + y, Rgb([200; 3]));
        }
    }
}

fn dot(image: &mut RgbImage, x: i64, y: i64, colour: Rgb<u8>) {
    for (dx, dy) in (-RADIUS..=RADIUS).flat_map(|dx| (-RADIUS..=RADIUS).map(move |dy| (dx, dy))) {
        if dx * dx + dy * dy <= RADIUS * RADIUS {
            image.put_pixel((x + dx) as u32, (y + dy) as u32, colour);
        }
    }
}

/// The same as one page without references to anything outside it.
pub(super) fn page(result: &Modulation) -> String {
    let colours: serde_json::Map<String, serde_json::Value> = STREAMS
        .into_iter()
        .map(|stream| {
            let name = serde_json::to_value(stream).expect("a name");
            let Rgb([red, green, blue]) = stream_colour(stream);
            let colour = format!("#{red:02x}{green:02x}{blue:02x}");
            let value = serde_json::json!({"label": stream.label(), "colour": colour});
            (name.as_str().unwrap_or_default().to_owned(), value)
        })
        .collect();
    let data = serde_json::json!({"result": result, "streams": colours});
    include_str!("modulation.html").replace("/*DATA*/null", &data.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_points_lie_inside_whatever_their_places() {
        let point = |i: usize| Point {
            stream: STREAMS[i % 5],
            layer: i % 7,
            timestep: 100 * (i % 10),
            norm: 1.0,
            x: if i == 0 { -1e6 } else { i as f64 },
            y: 0.0,
        };
        draw(&[]);
        draw(&[point(3)]);
        let image = draw(&(0..50).map(point).collect::<Vec<_>>());
        assert!(image.pixels().any(|pixel| *pixel == stream_colour(Stream::Face)));
    }
}
