// Package chart draws what benchmarks found out, as SVG and PNG.
package chart

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"switchbridge/bench/stats"
)

// Curve is one line of a plot of distributions.
type Curve struct {
	Name string
	H    *stats.Histogram // nil: nothing was measured
	// Paper is the paper's median in the plot's unit, a dashed line upright in the curve's
	// colour; 0: none.
	Paper float64
}

// palette tells seven curves apart, also for most who see colours differently
// (Okabe and Ito).
var palette = []color.RGBA{
	{0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255},
	{230, 159, 0, 255}, {86, 180, 233, 255}, {0, 0, 0, 255},
}

// CDF draws distributions of latencies in units of unit, on a logarithmic axis,
// to dir/name.svg and .png. The axis ends where one event in two hundred is left, or
// at the paper's largest median.
func CDF(dir, name, title, axis string, unit time.Duration, curves []Curve) error {
	p := newPlot(title, axis, "share of events")
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Add(plotter.NewGrid())
	legend := plot.NewLegend()
	low, high := math.Inf(1), 0.0
	measured := false
	for i, c := range curves {
		if c.Paper > 0 {
			line, err := plotter.NewLine(plotter.XYs{{X: c.Paper, Y: 0}, {X: c.Paper, Y: 1}})
			if err != nil {
				return fmt.Errorf("plot %s: %w", name, err)
			}
			line.Color, line.Width, line.Dashes = palette[i%len(palette)], vg.Points(1), []vg.Length{vg.Points(2), vg.Points(2)}
			p.Add(line)
			legend.Add(c.Name+": the paper", line)
			low, high = min(low, c.Paper), max(high, c.Paper)
		}
		if c.H == nil {
			continue
		}
		of := func(d time.Duration) float64 { return max(float64(d)/float64(unit), 1e-3) }
		var xy plotter.XYs
		c.H.CDF(func(d time.Duration, share float64) { xy = append(xy, plotter.XY{X: of(d), Y: share}) })
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
		legend.Add(c.Name, line)
		measured = true
		low, high = min(low, of(c.H.Quantile(0.001))), max(high, of(c.H.Quantile(0.995)))
	}
	if !measured {
		return fmt.Errorf("plot %s: nothing was measured", name)
	}
	p.Y.Min, p.Y.Max = 0, 1
	// Whole decades, so that the axis has labels.
	p.X.Min = math.Pow(10, math.Floor(math.Log10(low)))
	p.X.Max = math.Pow(10, math.Floor(math.Log10(high))+1)
	return save(p, &legend, dir, name)
}

// Bars draws one number for each name.
func Bars(dir, name, title, x, y string, names []string, values []float64) error {
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

// Line is one line of a plot of values by size.
type Line struct {
	Name string
	X, Y []float64 // above 0
}

// Lines draws values by size, both on logarithmic axes, to dir/name.svg and .png.
func Lines(dir, name, title, x, y string, lines []Line) error {
	p := newPlot(title, x, y)
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Y.Scale, p.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Add(plotter.NewGrid())
	legend := plot.NewLegend()
	low, high := math.Inf(1), 0.0
	for i, l := range lines {
		var xy plotter.XYs
		for j := range l.X {
			xy = append(xy, plotter.XY{X: l.X[j], Y: l.Y[j]})
			low, high = min(low, l.Y[j]), max(high, l.Y[j])
		}
		if len(xy) == 0 {
			continue
		}
		line, points, err := plotter.NewLinePoints(xy)
		if err != nil {
			return fmt.Errorf("plot %s: %w", name, err)
		}
		line.Color, line.Width = palette[i%len(palette)], vg.Points(1.5)
		points.Color, points.Shape = line.Color, draw.CircleGlyph{}
		p.Add(line, points)
		legend.Add(l.Name, line, points)
	}
	if high == 0 {
		return fmt.Errorf("plot %s: nothing was measured", name)
	}
	p.Y.Min, p.Y.Max = math.Pow(10, math.Floor(math.Log10(low))), math.Pow(10, math.Ceil(math.Log10(high)+1e-9))
	return save(p, &legend, dir, name)
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
		f, err := os.Create(filepath.Join(dir, name+"."+format))
		if err != nil {
			return err
		}
		_, err = canvas.WriteTo(f)
		errs = append(errs, err, f.Close())
	}
	return errors.Join(errs...)
}
