package paper

import (
	"errors"
	"fmt"
	"image/color"
	"math"
	"path/filepath"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"switchbridge/bench/stats"
)

// curve is one line of a plot of distributions.
type curve struct {
	name string
	h    *stats.Histogram
}

// palette tells eight curves apart, also for most who see colours differently
// (Okabe and Ito).
var palette = []color.RGBA{
	{0, 114, 178, 255}, {213, 94, 0, 255}, {0, 158, 115, 255}, {204, 121, 167, 255},
	{230, 159, 0, 255}, {86, 180, 233, 255}, {0, 0, 0, 255}, {240, 228, 66, 255},
}

// cdf draws distributions of latencies in units of unit, on a logarithmic axis,
// to dir/name.svg and .png.
func cdf(dir, name, title, axis string, unit time.Duration, curves []curve) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, axis, "share of events"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	p.Y.Min, p.Y.Max = 0, 1
	p.Legend.Top, p.Legend.Left = false, false
	p.Add(plotter.NewGrid())
	if len(curves) == 0 {
		return fmt.Errorf("plot %s: nothing was measured", name)
	}
	for i, c := range curves {
		var xy plotter.XYs
		c.h.CDF(func(d time.Duration, share float64) {
			xy = append(xy, plotter.XY{X: max(float64(d)/float64(unit), 1e-3), Y: share})
		})
		if len(xy) == 0 {
			continue
		}
		line, err := plotter.NewLine(xy)
		if err != nil {
			return fmt.Errorf("plot %s: %w", name, err)
		}
		line.StepStyle = plotter.PostStep
		line.Color, line.Width = palette[i%len(palette)], vg.Points(1.5)
		p.Add(line)
		p.Legend.Add(c.name, line)
	}
	// Whole decades, so that the axis has labels.
	p.X.Min = math.Pow(10, math.Floor(math.Log10(p.X.Min)))
	p.X.Max = math.Pow(10, math.Ceil(math.Log10(p.X.Max)))
	return save(p, dir, name)
}

// bars draws one number for each name.
func bars(dir, name, title, x, y string, names []string, values []float64) error {
	p := plot.New()
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	b, err := plotter.NewBarChart(plotter.Values(values), vg.Points(24))
	if err != nil {
		return fmt.Errorf("plot %s: %w", name, err)
	}
	b.Color = palette[0]
	b.LineStyle.Width = 0
	p.Add(b)
	p.NominalX(names...)
	return save(p, dir, name)
}

func save(p *plot.Plot, dir, name string) error {
	var errs []error
	for _, ending := range []string{".svg", ".png"} {
		errs = append(errs, p.Save(18*vg.Centimeter, 11*vg.Centimeter, filepath.Join(dir, name+ending)))
	}
	return errors.Join(errs...)
}
