"""Numbers printed in papers, with source and remarks, as JSON; installed as ``zsar_published``."""
