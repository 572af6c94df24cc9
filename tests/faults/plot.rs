//! Curves over time, as a picture that every browser shows.

use std::fmt::Write as _;

const WIDTH: f64 = 900.0;
const HEIGHT: f64 = 180.0;
const MARGIN: f64 = 60.0;

/// One quantity over time.
pub(super) struct Curve {
    pub(super) name: &'static str,
    /// Seconds, and how much there was.
    pub(super) points: Vec<(f64, f64)>,
}

/// The curves, one below the other, each from zero to its greatest value.
pub(super) fn svg(curves: &[Curve]) -> String {
    let height = HEIGHT * f64::from(u16::try_from(curves.len()).unwrap());
    let mut picture = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"white\"/>\n"
    );
    for (number, curve) in (0u16..).zip(curves) {
        draw(curve, HEIGHT * f64::from(number), &mut picture);
    }
    picture + "</svg>\n"
}

fn draw(curve: &Curve, top: f64, picture: &mut String) {
    let greatest = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::MIN_POSITIVE, f64::max);
    let longest = greatest(&mut curve.points.iter().map(|point| point.0));
    let most = greatest(&mut curve.points.iter().map(|point| point.1));
    let (left, right) = (MARGIN, WIDTH - 20.0);
    let (ceiling, floor) = (top + 30.0, top + HEIGHT - 25.0);
    let mut points = String::new();
    for (seconds, value) in &curve.points {
        let x = left + (right - left) * seconds / longest;
        let y = floor - (floor - ceiling) * value / most;
        write!(points, "{x:.1},{y:.1} ").unwrap();
    }
    write!(
        picture,
        "<text x=\"{left}\" y=\"{}\">{}</text>\n\
         <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{most:.0}</text>\n\
         <text x=\"{}\" y=\"{floor}\" text-anchor=\"end\">0</text>\n\
         <text x=\"{right}\" y=\"{}\" text-anchor=\"end\">{longest:.0} s</text>\n\
         <path d=\"M{left} {ceiling}V{floor}H{right}\" fill=\"none\" stroke=\"gray\"/>\n\
         <polyline points=\"{points}\" fill=\"none\" stroke=\"steelblue\" stroke-width=\"1.5\"/>\n",
        top + 20.0,
        curve.name,
        left - 5.0,
        ceiling + 5.0,
        left - 5.0,
        floor + 15.0,
    )
    .unwrap();
}
