package watched

import (
	"reflect"
	"strings"
)

// Differences calls each for every key of which two configurations, pointers to
// structures with yaml tags, have different values. The values can be set.
func Differences(a, b any, each func(key string, a, b reflect.Value)) {
	walk("", reflect.ValueOf(a).Elem(), reflect.ValueOf(b).Elem(), each)
}

func walk(prefix string, a, b reflect.Value, each func(key string, a, b reflect.Value)) {
	for i := range a.NumField() {
		name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("yaml"), ",")
		key, x, y := prefix+name, a.Field(i), b.Field(i)
		switch {
		case name == "-": // it is not the file's
		case x.Kind() == reflect.Struct:
			walk(key+".", x, y, each)
		case (x.Kind() == reflect.Slice || x.Kind() == reflect.Map) && x.Len() == 0 && y.Len() == 0: // absent and empty
		case !reflect.DeepEqual(x.Interface(), y.Interface()):
			each(key, x, y)
		}
	}
}
