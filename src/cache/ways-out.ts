/** For messages about writes that cannot go to the bucket by themselves. */
export const WAYS_OUT =
  'Save them with "bucketdisk cache export VOLUME FILE", then give them up with "bucketdisk cache drop VOLUME --force"';

/** The same for a log of which not all can be read. */
export const WAYS_OUT_OF_DAMAGE =
  'Save what can be read with "bucketdisk cache export VOLUME FILE", then give up the rest with "bucketdisk cache drop VOLUME --force"';

/** The same where the disk fails to read it, and may not do so for ever. */
export const WAYS_OUT_OF_FAILURE =
  'Try again; where that does not help, "bucketdisk cache export VOLUME FILE" saves what can be read, and "bucketdisk cache drop VOLUME --force" gives up the rest';

/** For a cache of another version of ours. */
export const WAYS_OUT_OF_VERSION =
  'Start that one until everything is uploaded, or give the cache up with "bucketdisk cache drop VOLUME --force"';

/** Where nothing can be read. */
export const GIVE_UP = 'Give it up with "bucketdisk cache drop VOLUME --force"';
