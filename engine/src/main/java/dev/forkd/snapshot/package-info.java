/** Snapshots at rest: their manifests, their files and who shares them. */
@NullMarked
package dev.forkd.snapshot;

import org.jspecify.annotations.NullMarked;
