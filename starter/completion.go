package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/snapferry/snapferry/migration"
)

// completionTime is how long a shell waits for names: nobody wants to wait longer after a Tab.
const completionTime = 2 * time.Second

// completes has a shell complete the name of a migration, below each command that takes one.
func (a *app) completes(root *cobra.Command) {
	for _, command := range root.Commands() {
		if strings.HasSuffix(command.Use, " [NAME]") {
			command.ValidArgsFunction = a.completeName
		}
	}
}

// completeName lists what runs. Without a server there is nothing to list.
func (a *app) completeName(c *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(c.Context(), completionTime)
	defer cancel()
	connection, err := a.connect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer connection.Close()
	rows, _, err := a.find(ctx, connection, ofTypes(migration.WorkflowType)+andRunning)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, row := range rows {
		if name := row.target().label(); strings.HasPrefix(name, typed) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, cobra.ShellCompDirectiveNoFileComp
}
