/** Disk layers: immutable images and the overlays that stand on them. */
@NullMarked
package dev.forkd.disk;

import org.jspecify.annotations.NullMarked;
