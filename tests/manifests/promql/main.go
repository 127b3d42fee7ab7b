// Reads PromQL from standard input, an expression a line, with Prometheus' own parser. The first that
// is none ends it with status 1.
package main

import (
	"bufio"
	"fmt"
	"os"

	"github.com/prometheus/prometheus/promql/parser"
)

func main() {
	reader := parser.NewParser(parser.Options{})
	lines := bufio.NewScanner(os.Stdin)
	count := 0
	for ; lines.Scan(); count++ {
		if _, err := reader.ParseExpr(lines.Text()); err != nil {
			fmt.Println(lines.Text(), err)
			os.Exit(1)
		}
	}
	if err := lines.Err(); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(count)
}
