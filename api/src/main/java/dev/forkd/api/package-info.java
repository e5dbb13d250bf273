/** The types that every module may share: ids, tags, the error vocabulary. */
@NullMarked
package dev.forkd.api;

import org.jspecify.annotations.NullMarked;
