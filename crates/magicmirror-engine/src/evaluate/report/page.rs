//! `report.html`: one page that needs nothing else.

use std::collections::BTreeMap;
use std::fmt::Write;

use super::super::metric::Column;
use super::super::motion;
use super::super::results::{Results, VideoResult};
use super::super::run::People;
use super::super::statistics::Estimate;
use super::super::thumbnail::Thumbnail;
use super::plot::{self, COLOURS, Line};
use super::table::{estimate, faceless, number, of};
use crate::EngineError;
use crate::identity::DetectedFace;

const PAGE: &str = include_str!("report.html");
/// Points of a mean over the length of videos.
const BINS: usize = 12;
/// Up to so many videos each has a line of its own.
const MOST_LINES: usize = 24;

/// The page, filled in.
///
/// # Errors
/// When the pictures of a video cannot be read.
pub(super) fn render(
    results: &Results,
    people: &People,
    thumbnails: &dyn Fn(usize) -> Result<Vec<Thumbnail>, EngineError>,
) -> Result<String, EngineError> {
    let page = Page { results, people };
    let mut videos = String::new();
    for (index, video) in results.videos.iter().enumerate() {
        page.add_video(&mut videos, video, &thumbnails(index)?);
    }
    let parts = [
        ("SUMMARY", page.summary()),
        ("LEGEND", page.legend()),
        ("MODELS", page.models()),
        ("PLOTS", page.plots()),
        ("SORT", page.sort_options()),
        ("FILTER", page.filter_options()),
        ("ABSENT", page.absent()),
        ("DEFINITIONS", page.definitions()),
        ("VIDEOS", videos),
    ];
    // Split, not replaced: what is filled in may hold the marks.
    let mut html = String::new();
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once("<!--") {
        html.push_str(before);
        let (name, after) = after.split_once("-->").expect("the page closes its marks");
        let part = parts.iter().find(|(part, _)| *part == name).expect("the page has only these marks");
        html.push_str(&part.1);
        rest = after;
    }
    Ok(html + rest)
}

struct Page<'a> {
    results: &'a Results,
    people: &'a People,
}

impl Page<'_> {
    fn summary(&self) -> String {
        let settings = &self.results.settings;
        let count = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        let mut text = format!(
            "{} of {}, {}. Faces in {} by {}, compared by {}. Means over videos, with 95&nbsp;% bootstrap intervals.",
            count(self.results.videos.len(), "video"),
            count(self.results.models.len(), "model"),
            if settings.identities == 1 {
                "1 identity".to_owned()
            } else {
                format!("{} identities", settings.identities)
            },
            if settings.frame_stride == 1 {
                "every frame".to_owned()
            } else {
                format!("one frame in {}", settings.frame_stride)
            },
            settings.detector,
            settings.recognisers.join(", "),
        );
        for model in self.results.models.iter().filter(|model| model.frames_without_face > 0) {
            let _ = write!(text, "</p><p class=warn><b>{}</b>: {}.", escape(&model.model), faceless(model));
        }
        text
    }

    fn legend(&self) -> String {
        let mut html = String::new();
        for (index, model) in self.results.models.iter().enumerate() {
            let _ = write!(html, "<span><i class=s{}></i>{}</span>", index % COLOURS, escape(&model.model));
        }
        html + "<span><i class=strangers></i>to strangers</span>"
    }

    /// Rows are numbers, columns models; what is not the paper's is folded away.
    fn models(&self) -> String {
        let (first, rest): (Vec<&Column>, Vec<&Column>) =
            self.results.columns.iter().partition(|column| column.headline);
        format!(
            "{}<details><summary>All {} numbers</summary>{}</details>",
            self.table(&first),
            self.results.columns.len(),
            self.table(&rest)
        )
    }

    fn table(&self, columns: &[&Column]) -> String {
        let mut html = String::from("<div class=scroll><table><thead><tr><th></th>");
        for model in &self.results.models {
            let _ = write!(html, "<th>{}<br><small>{} videos</small></th>", escape(&model.model), model.videos);
        }
        html.push_str("</tr></thead><tbody>");
        for column in columns {
            let _ = write!(
                html,
                "<tr><th title='{}'>{}{}</th>",
                escape(&column.definition),
                column.name,
                column.better.arrow()
            );
            for model in &self.results.models {
                let value = of(model, column);
                let interval = value.and_then(|value| Some((value.low?, value.high?)));
                let interval = interval.map_or_else(String::new, |(low, high)| {
                    format!("<small>{} to {}</small>", number(low), number(high))
                });
                let mean = value.map_or_else(|| "–".to_owned(), |value| number(value.mean));
                let _ = write!(html, "<td title='{}'>{mean}{interval}</td>", estimate(value));
            }
            html.push_str("</tr>");
        }
        html + "</tbody></table></div>"
    }

    fn plots(&self) -> String {
        let mut html = String::new();
        let mut add = |title: &str, note: &str, svg: String| {
            let _ = write!(html, "<figure><figcaption><b>{title}</b> {note}</figcaption>{svg}</figure>");
        };
        for name in &self.results.settings.recognisers {
            let series = format!("{name}_cosine");
            let strangers = format!("{name}_cosine_strangers");
            let of =
                |video: &VideoResult| video.frames.iter().map(|f| f.series.get(&series).copied().flatten()).collect();
            let mut lines = self.over_time(&of);
            for (colour, model) in self.results.models.iter().enumerate() {
                if let Some(Some(level)) = model.metrics.get(&strangers) {
                    let points = vec![Some([0.0, level.mean]), Some([1.0, level.mean])];
                    lines.push(Line { colour, class: "strangers", points });
                }
            }
            let title = format!("Similarity over time ({name})");
            add(
                &title,
                "Cosine to the mean of the reference photos; dashed: to strangers.",
                plot::lines(&title, &lines),
            );
            let decay = format!("{name}_decay");
            let rows: Vec<(&str, Estimate)> = self
                .results
                .models
                .iter()
                .filter_map(|model| Some((model.model.as_str(), (*model.metrics.get(&decay)?)?)))
                .collect();
            let title = format!("Similarity decay ({name})");
            add(&title, "How much the similarity falls from the first frame to the last.", plot::dots(&title, &rows));
        }
        let steps = |video: &VideoResult| {
            let faces: Vec<Option<DetectedFace>> = video.frames.iter().map(|frame| frame.face.face).collect();
            motion::steps(&faces).into_iter().map(|step| step.map(|step| step.together)).collect()
        };
        let title = "Landmark motion";
        let note = "Distance of the five landmarks between sampled frames, in diagonals of the first face; its peak is fm_inter.";
        add(title, note, plot::lines(title, &self.over_time(&steps)));
        html
    }

    /// A thin line for each video, if they are few, and the mean of each model.
    fn over_time(&self, series: &dyn Fn(&VideoResult) -> Vec<Option<f64>>) -> Vec<Line> {
        let mut lines = Vec::new();
        let mut sums: BTreeMap<(usize, usize), (f64, f64)> = BTreeMap::new();
        for video in &self.results.videos {
            let colour = self.colour(video);
            let values = series(video);
            let at = |index: usize| index as f64 / (values.len().max(2) - 1) as f64;
            for (index, value) in values.iter().enumerate() {
                if let Some(value) = value {
                    let bin = ((at(index) * BINS as f64) as usize).min(BINS - 1);
                    let sum = sums.entry((colour, bin)).or_default();
                    *sum = (sum.0 + value, sum.1 + 1.0);
                }
            }
            if self.results.videos.len() <= MOST_LINES {
                let points =
                    values.iter().enumerate().map(|(index, value)| value.map(|value| [at(index), value])).collect();
                lines.push(Line { colour, class: "one", points });
            }
        }
        for colour in 0..self.results.models.len() {
            let mean = |bin: usize| {
                let (sum, count) = sums.get(&(colour, bin))?;
                Some([(bin as f64 + 0.5) / BINS as f64, sum / count])
            };
            let points: Vec<_> = (0..BINS).filter_map(mean).map(Some).collect();
            lines.push(Line { colour, class: "mean", points });
        }
        lines
    }

    fn add_video(&self, html: &mut String, video: &VideoResult, thumbnails: &[Thumbnail]) {
        let (colour, identity) = (self.colour(video), escape(&video.identity));
        let scores: Vec<Option<f64>> = self.video_columns().map(|column| video.metric(&column.name)).collect();
        let scores_json = serde_json::to_string(&scores).expect("numbers are plain data");
        let _ = write!(
            html,
            "<article class=card data-model='{}' data-scores='{scores_json}'><header><i class=s{}></i><b>{}</b>",
            colour,
            colour % COLOURS,
            escape(&video.video)
        );
        if video.is_faceless() {
            html.push_str(" <span class=warn>no face in any sampled frame</span>");
        }
        let _ = write!(html, "<small>{}{}", escape(&video.model), if identity.is_empty() { "" } else { " · " });
        let _ = write!(html, "{identity} · {} frames at {:.0} a second</small></header>", video.frame_count, video.fps);
        if let Some(prompt) = &video.prompt {
            let _ = write!(html, "<p class=prompt>{}</p>", escape(prompt));
        }
        html.push_str("<div class=pictures>");
        for thumbnail in video.own.map_or(&[][..], |own| &self.people.people[own].thumbnails) {
            let _ = write!(html, "<img class=reference alt='reference of {identity}' src='{}'>", thumbnail.address());
        }
        for (index, thumbnail) in thumbnails.iter().enumerate() {
            let _ = write!(html, "<img alt='picture {}' src='{}'>", index + 1, thumbnail.address());
        }
        html.push_str("</div><div class=scores>");
        for column in self.video_columns().filter(|column| column.headline) {
            let value = video.metric(&column.name).map_or_else(|| "–".to_owned(), number);
            let _ = write!(html, "<span title='{}'>{} <b>{value}</b></span>", escape(&column.definition), column.name);
        }
        html.push_str("</div>");
        let values: Vec<Option<f64>> =
            video.frames.iter().map(|frame| frame.series.get("dlib_cosine").copied().flatten()).collect();
        if values.iter().any(Option::is_some) {
            let level = video.metric("dlib_cosine_strangers");
            html.push_str(&plot::sparkline("dlib_cosine over time", &values, level, self.sparkline_range(), colour));
        }
        html.push_str("<details><summary>All numbers</summary><dl>");
        for column in self.video_columns() {
            let value = video.metric(&column.name).map_or_else(|| "–".to_owned(), number);
            let _ = write!(html, "<dt>{}{}</dt><dd>{value}</dd>", column.name, column.better.arrow());
        }
        html.push_str("</dl></details></article>");
    }

    /// One scale for all videos, so that they can be compared by eye.
    fn sparkline_range(&self) -> [f64; 2] {
        let videos = &self.results.videos;
        let cosines = videos.iter().flat_map(|v| v.frames.iter().filter_map(|f| *f.series.get("dlib_cosine")?));
        let all = cosines.chain(videos.iter().filter_map(|video| video.metric("dlib_cosine_strangers")));
        let low = all.fold(1.0, f64::min);
        [low.min(0.99), 1.0]
    }

    fn sort_options(&self) -> String {
        let mut html = String::from("<option value=''>order of the manifest</option>");
        for (index, column) in self.video_columns().enumerate() {
            let _ = write!(html, "<option value={index}>{}</option>", column.name);
        }
        html
    }

    fn filter_options(&self) -> String {
        let mut html = String::from("<option value=''>all models</option>");
        for (index, model) in self.results.models.iter().enumerate() {
            let _ = write!(html, "<option value={index}>{}</option>", escape(&model.model));
        }
        html
    }

    fn absent(&self) -> String {
        let mut html = String::new();
        for absent in &self.results.not_computed {
            let _ = write!(
                html,
                "<li><b>{}</b>: wants <code>{}</code> in the folder given with <code>--weights</code> ({}).</li>",
                absent.columns.join(", "),
                escape(&absent.file),
                escape(&absent.origin)
            );
        }
        if html.is_empty() { "<li>Nothing.</li>".to_owned() } else { html }
    }

    fn definitions(&self) -> String {
        let mut html = String::new();
        for column in &self.results.columns {
            let _ = write!(
                html,
                "<dt>{}{}</dt><dd>{}</dd>",
                column.name,
                column.better.arrow(),
                escape(&column.definition)
            );
        }
        html
    }

    /// Columns that videos have.
    fn video_columns(&self) -> impl Iterator<Item = &Column> {
        let first = self.results.videos.first();
        self.results
            .columns
            .iter()
            .filter(move |column| first.is_some_and(|video| video.metrics.contains_key(column.name.as_ref())))
    }

    /// The number of a video's model.
    fn colour(&self, video: &VideoResult) -> usize {
        self.results.models.iter().position(|model| model.model == video.model).unwrap_or(0)
    }
}

/// Text that stands for itself in HTML, in attributes as well.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&#39;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}
