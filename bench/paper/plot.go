package paper

import (
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"
	"path/filepath"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"switchbridge/bench/stats"
)

// curve is one line of a plot of distributions.
type curve struct {
	name string
	h    *stats.Histogram
}

// palette tells seven curves apart, also for most who see colours differently
// (Okabe and Ito).
var palette = []color.RGBA{
	{0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255},
	{230, 159, 0, 255}, {86, 180, 233, 255}, {0, 0, 0, 255},
}

// cdf draws distributions of latencies in units of unit, on a logarithmic axis,
// to dir/name.svg and .png. The axis ends where one event in two hundred is left.
func cdf(dir, name, title, axis string, unit time.Duration, curves []curve) error {
	p := newPlot(title, axis, "share of events")
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Add(plotter.NewGrid())
	legend := plot.NewLegend()
	low, high := math.Inf(1), 0.0
	for i, c := range curves {
		of := func(d time.Duration) float64 { return max(float64(d)/float64(unit), 1e-3) }
		var xy plotter.XYs
		c.h.CDF(func(d time.Duration, share float64) { xy = append(xy, plotter.XY{X: of(d), Y: share}) })
		if len(xy) == 0 {
			continue
		}
		line, err := plotter.NewLine(xy)
		if err != nil {
			return fmt.Errorf("plot %s: %w", name, err)
		}
		line.StepStyle = plotter.PostStep
		line.Color, line.Width = palette[i%len(palette)], vg.Points(1.5)
		if i >= len(palette) {
			line.Dashes = []vg.Length{vg.Points(4), vg.Points(2)}
		}
		p.Add(line)
		legend.Add(c.name, line)
		low, high = min(low, of(c.h.Quantile(0.001))), max(high, of(c.h.Quantile(0.995)))
	}
	if high == 0 {
		return fmt.Errorf("plot %s: nothing was measured", name)
	}
	p.Y.Min, p.Y.Max = 0, 1
	// Whole decades, so that the axis has labels.
	p.X.Min = math.Pow(10, math.Floor(math.Log10(low)))
	p.X.Max = math.Pow(10, math.Floor(math.Log10(high))+1)
	return save(p, &legend, dir, name)
}

// bars draws one number for each name.
func bars(dir, name, title, x, y string, names []string, values []float64) error {
	p := newPlot(title, x, y)
	b, err := plotter.NewBarChart(plotter.Values(values), vg.Points(36))
	if err != nil {
		return fmt.Errorf("plot %s: %w", name, err)
	}
	b.Color = palette[0]
	b.LineStyle.Width = 0
	p.Add(b)
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.5, float64(len(names))-0.5
	p.Y.Min = 0
	return save(p, nil, dir, name)
}

func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.Padding = vg.Points(8)
	p.X.Label.Padding, p.Y.Label.Padding = vg.Points(4), vg.Points(4)
	return p
}

// save draws the plot, with its legend to the right of it.
func save(p *plot.Plot, legend *plot.Legend, dir, name string) error {
	// beside has room for the wider letters of a viewer that lacks the font of an SVG.
	const width, height, margin, beside = 23 * vg.Centimeter, 11 * vg.Centimeter, 3 * vg.Millimeter, 9 * vg.Centimeter
	var errs []error
	for _, format := range []string{"svg", "png"} {
		canvas, err := draw.NewFormattedCanvas(width, height, format)
		if err != nil {
			return fmt.Errorf("plot %s: %w", name, err)
		}
		c := draw.Crop(draw.New(canvas), margin, -margin, margin, -margin)
		if legend != nil {
			legend.Top, legend.Left, legend.Padding, legend.ThumbnailWidth = true, true, vg.Points(3), vg.Points(18)
			legend.YOffs = -vg.Centimeter // beside the axes, not the title
			legend.Draw(draw.Crop(c, c.Max.X-c.Min.X-beside+3*vg.Millimeter, 0, 0, 0))
			c = draw.Crop(c, 0, -beside, 0, 0)
		}
		p.Draw(c)
		errs = append(errs, writeFile(filepath.Join(dir, name+"."+format), func(w io.Writer) error {
			_, err := canvas.WriteTo(w)
			return err
		}))
	}
	return errors.Join(errs...)
}
