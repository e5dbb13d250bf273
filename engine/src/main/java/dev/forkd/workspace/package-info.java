/** Workspaces: named sandboxes that can be suspended and resumed. */
@NullMarked
package dev.forkd.workspace;

import org.jspecify.annotations.NullMarked;
